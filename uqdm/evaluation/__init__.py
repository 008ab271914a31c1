"""Rate and distortion of the codec and of others, on sets of pictures of any size.

What is measured is real: bytes of files, headers included, and pictures decoded from exactly these bytes. Of every
picture one progressive stream is made and cut, at the end of every step and at given rates; other codecs make one file
per setting.

    points     one truncation or setting on one picture (and baselines: the other codecs)
    records    measured pictures, one line of JSON each, appended as they are done
    equal_rates  several reconstructions of one stream, and other codecs, at the same rates
    patches    distances between sets of patches
    run        the loop over the pictures of a set that no record file has yet
    summary    means over pictures, Bjontegaard differences and tables, all a function of the records

Pictures are independent, so processes need not talk to each other: process I of N measures the pictures i with
i mod N = I and appends to a record file of its own. A run that is given again measures what is missing: results belong
to the contents of pictures, not to their places in a list. Whoever finds that nothing is missing writes the tables,
which do not depend on who measured what, or when. Pictures that cannot be taken are left out, and named.
"""

from uqdm.evaluation.baselines import BASELINES as BASELINES
from uqdm.evaluation.baselines import available as available
from uqdm.evaluation.baselines import baseline_points as baseline_points
from uqdm.evaluation.points import METRICS as METRICS
from uqdm.evaluation.points import OURS as OURS
from uqdm.evaluation.points import Metric as Metric
from uqdm.evaluation.points import Point as Point
from uqdm.evaluation.points import point_of as point_of
from uqdm.evaluation.points import progressive_points as progressive_points
from uqdm.evaluation.points import read_points as read_points
from uqdm.evaluation.points import write_points as write_points
from uqdm.evaluation.records import Measurement as Measurement
from uqdm.evaluation.records import Plan as Plan
from uqdm.evaluation.records import Records as Records
from uqdm.evaluation.records import Times as Times
from uqdm.evaluation.run import Member as Member
from uqdm.evaluation.run import members_of as members_of
from uqdm.evaluation.run import picture_at as picture_at
from uqdm.evaluation.run import run as run
from uqdm.evaluation.summary import curves as curves
from uqdm.evaluation.summary import write_tables as write_tables
