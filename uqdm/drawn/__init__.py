"""A process for pictures that were drawn, not photographed: text, screens, charts, pixel art, flat colours, noise."""
