"""Jobs that somebody wants to be told of; figures of the blocks of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of callbacks, and grow jobs. Blocks that are done already count for no figure."""
    op.create_table(
        "callbacks",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("told", sa.String(32), nullable=False),
    )
    op.add_column("jobs", sa.Column("read_s", sa.Double, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("inference_s", sa.Double, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("mapped_px", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("provider", sa.Text))
