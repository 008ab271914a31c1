from .codec.api import Preview as Preview
from .codec.api import decode as decode
from .codec.api import decode_batch as decode_batch
from .codec.api import encode as encode
from .codec.api import encode_batch as encode_batch
from .codec.api import previews as previews
from .codec.container import info as info
from .codec.container import metadata as metadata
from .codec.decoder import Decoder as Decoder
from .diffusion.model import DiffusionModel as DiffusionModel
from .diffusion.predictor import PredictorModel as PredictorModel
from .errors import DamagedStreamError as DamagedStreamError
from .errors import FormatError as FormatError
from .errors import IncompleteHeaderError as IncompleteHeaderError
from .errors import ModelMismatchError as ModelMismatchError
from .errors import PictureError as PictureError
from .errors import StreamError as StreamError
from .library import load_model as load_model
from .nested.model import NestedModel as NestedModel
from .reconstruction import Ancestral as Ancestral
from .reconstruction import Denoise as Denoise
from .reconstruction import Flow as Flow
from .reconstruction import Mixture as Mixture
from .reconstruction import Refine as Refine
from .reconstruction import Restore as Restore
from .reconstruction import Sample as Sample

__version__: str
