"""Owners, priorities and steps of jobs; leases that are sent and retried; keys; schedules and their runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Grow jobs, documents and blocks; make the tables of keys, schedules and runs."""
    _grow_blocks()
    _grow_jobs()
    _make_keys()
    _make_schedules()


def _grow_blocks() -> None:
    op.alter_column("blocks", "owner", new_column_name="lease_owner")
    op.alter_column("blocks", "expires", new_column_name="lease_expires")
    for column in (_instant("sent_at"), _instant("retry_at"), _count("failures"), _count("expiries")):
        op.add_column("blocks", column)
    _make_part("blocks_open", "blocks", ["job_id", "position"], "rank IS NULL")
    _make_part("blocks_sent", "blocks", ["sent_at"], "sent_at IS NOT NULL")


def _grow_jobs() -> None:
    columns = (
        _count("attempt"),
        sa.Column("lease_owner", sa.Text),
        _instant("lease_expires"),
        _instant("sent_at"),
        _instant("retry_at"),
        _count("failures"),
        _count("expiries"),
        sa.Column("error", sa.Text),
        sa.Column("took_s", sa.Double),
        sa.Column("owner", sa.String(64), nullable=False, server_default="local"),
        sa.Column("title", sa.Text, nullable=False, server_default=""),
        sa.Column("priority", sa.Integer, nullable=False, server_default="5"),
        sa.Column("blocks_queue", sa.String(32), nullable=False, server_default="blocks.cpu"),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("run_id", sa.Text),
        _count("retries"),
        _count("lost_leases"),
        _instant("unclean_since"),
    )
    for column in columns:
        op.add_column("jobs", column)
    op.add_column("documents", sa.Column("callbacks", sa.Text, nullable=False, server_default="{}"))
    _note_durations()
    op.create_index("jobs_by_owner", "jobs", ["owner", "created", "job_id"])
    op.create_index("jobs_by_key", "jobs", ["owner", "idempotency_key"], unique=True)
    op.create_index("jobs_by_run", "jobs", ["run_id", "created", "job_id"])
    _make_part("jobs_open", "jobs", ["priority", "created", "job_id"], "finished IS NULL", unique=True)
    _make_part("jobs_open_asked", "jobs", ["owner"], "finished IS NULL AND run_id IS NULL")
    _make_part("jobs_asked", "jobs", ["owner", "created"], "run_id IS NULL")
    _make_part("jobs_sent", "jobs", ["sent_at"], "sent_at IS NOT NULL")
    _make_part("jobs_unclean", "jobs", ["unclean_since"], "unclean_since IS NOT NULL")


def _note_durations() -> None:
    """How long finished jobs took; instants are subtracted here, since each database has its own way to do it."""
    jobs = sa.table(
        "jobs", sa.column("job_id"), sa.column("started", INSTANT), sa.column("finished", INSTANT), sa.column("took_s")
    )
    connection = op.get_bind()
    both = jobs.c.started.is_not(None), jobs.c.finished.is_not(None)
    for job_id, started, finished in connection.execute(
        sa.select(jobs.c.job_id, jobs.c.started, jobs.c.finished).where(*both)
    ).all():
        took_s = (finished - started).total_seconds()
        connection.execute(sa.update(jobs).where(jobs.c.job_id == job_id).values(took_s=took_s))


def _make_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("limits", sa.Text, nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        _instant("expires"),
        _instant("revoked"),
    )


def _make_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("schedule_id", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False, index=True),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("active_since", INSTANT, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        _instant("deleted"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("schedule_id", sa.String(64), sa.ForeignKey("schedules.schedule_id"), nullable=False),
        sa.Column("nominal", INSTANT, nullable=False),
        sa.Column("opened", INSTANT, nullable=False),
        sa.Column("outcome", sa.String(32)),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("scene_digest", sa.Text),
    )
    op.create_index("runs_by_schedule", "runs", ["schedule_id", "nominal"], unique=True)
    _make_part("runs_undecided", "runs", ["opened"], "outcome IS NULL")


def _instant(name: str) -> sa.Column[object]:
    return sa.Column(name, INSTANT)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _make_part(name: str, table: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)
