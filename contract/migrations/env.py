"""Run by Alembic: brings the database behind the connection it is given to the schema asked for."""

from alembic import context

from contract.tables import Base

# The caller's transaction: either every step is done, or none.
context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
