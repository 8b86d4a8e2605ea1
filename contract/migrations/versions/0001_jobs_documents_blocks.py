"""Jobs, their documents and their blocks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True)),
        sa.Column("finished", sa.DateTime(timezone=True)),
        sa.Column("blocks_done", sa.Integer, nullable=False),
        sa.Column("blocks_total", sa.Integer),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_index("jobs_by_age", "jobs", ["created", "job_id"])
    op.create_index("jobs_by_state", "jobs", ["state", "created", "job_id"])
    op.create_table(
        "documents",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("plan", sa.LargeBinary),
        sa.Column("result", sa.LargeBinary),
    )
    op.create_table(
        "blocks",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_row", sa.Integer, nullable=False),
        sa.Column("first_col", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("expires", sa.DateTime(timezone=True)),
        sa.Column("rank", sa.Integer),
        sa.Column("report", sa.Text),
        sa.Column("error", sa.Text),
    )
