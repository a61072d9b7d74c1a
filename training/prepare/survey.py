"""What is known of a source once every picture was inspected, compared and assigned to a split."""

from dataclasses import dataclass

from training.prepare.assignment import Assignment
from training.prepare.duplicates import Duplicates
from training.prepare.layout import Layout
from training.prepare.masks import Masks
from training.prepare.options import PrepareOptions
from training.prepare.picture_arrays import Catalogue
from training.prepare.records import Records


@dataclass(frozen=True)
class Survey:
    """The finished survey. masks: None where none were asked for."""

    options: PrepareOptions
    records: Records
    layout: Layout
    catalogue: Catalogue
    duplicates: Duplicates
    assignment: Assignment
    masks: Masks | None

    def path(self, index: int) -> str:
        """The path of a picture by its position in the catalogue."""
        return self.records.path(int(self.catalogue.ids[index]))

    def label(self, index: int) -> str:
        """The label of a picture by its position in the catalogue."""
        return self.catalogue.names[int(self.catalogue.labels[index])]
