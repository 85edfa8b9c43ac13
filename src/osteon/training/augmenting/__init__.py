"""Random changes to a batch: all parameters are drawn first, then applied to the whole batch where it lies."""

from osteon.training.augmenting.applying import apply_changes as apply_changes
from osteon.training.augmenting.drawing import Changes as Changes
from osteon.training.augmenting.drawing import draw_changes as draw_changes
from osteon.training.augmenting.telling import told as told
