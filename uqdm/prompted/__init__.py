"""Codecs that prompt a text-to-image model: a caption and a little of the picture are sent, it draws the rest."""
