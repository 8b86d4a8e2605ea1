"""The base of every record that HTTP carries: its lines of documentation become the API's description."""

from pydantic import ConfigDict

from contract.record import Record


class Message(Record):
    """A record that is sent or received."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)
