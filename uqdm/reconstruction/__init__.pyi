from .by_name import NAMES as NAMES
from .by_name import named as named
from .denoise import Denoise as Denoise
from .realism import Mixture as Mixture
from .reverse import Ancestral as Ancestral
from .reverse import Flow as Flow
from .sample import Sample as Sample
