"""Random changes to a batch: all parameters are drawn first, then applied to the whole batch where it lies."""

from osteon.training.augmenting.apply import apply_changes as apply_changes
from osteon.training.augmenting.description import told as told
from osteon.training.augmenting.parameters import Changes as Changes
from osteon.training.augmenting.parameters import draw_changes as draw_changes
