"""The base of every record that crosses a border."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An immutable record that refuses fields it does not know.

    Floats that JSON cannot hold (NaN, infinities) are written as strings and read back, since NaN is a legal nodata.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
