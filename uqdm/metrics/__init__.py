"""What pictures lose, by every measure that the field reports.

Measures of a pair of pictures, uint8 (H, W, 3) each:

    psnr_db, ms_ssim            higher is better
    lpips                       lower is better
    wasserstein_distortion      lower is better

Measures of two sets of pictures, by features (n, d) of any network (`mobilenet_features` is one) or by pixels:

    fid, kid, kid_in_blocks     lower is better
    sliced_wasserstein          lower is better

What rates and curves are compared by: `bpp`, `bd_rate_percent`, `bd_psnr_db`; over sets of pairs `mean_psnr_db` and
`pooled_psnr_db`.

Nothing here knows the codec. Names are those of `__init__.pyi`, imported when
they are first used, so that PSNR does not wait for JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
