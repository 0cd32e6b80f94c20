"""Pictures of a batch: the first items of an experiment's data as the model reads them, with the loss of each place."""

from spectron.evaluation.look.look_page import write_look
from spectron.evaluation.look.looking import Look, LookedItem, LookedSegment, look

__all__ = ["Look", "LookedItem", "LookedSegment", "look", "write_look"]
