"""First step of a job: search once, freeze the scenes, lay the grid, cut it into blocks."""

from dataclasses import dataclass

from contract.bands import Modality
from contract.bundle import BundleManifest
from contract.errors import AoiEmpty, SourceUnusable
from contract.grid import Window
from contract.request import MapRequest, Plan
from workers.aoi import geometry_of
from workers.bundle import Bundle
from workers.grid import cut_blocks, grid_for, project_area
from workers.products.spec import raster_specs
from workers.sources import find_scenes
from workers.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan that nothing depends on yet."""

    plan: Plan
    blocks: tuple[Window, ...]


def plan_job(worker: Worker, job_id: str) -> Plan:
    """The job's frozen plan, made now if there is none.

    Raises:
        LandsigmaError: Whatever makes this request impossible; see `draft`.
    """
    known = worker.ledger.plan(job_id)
    if known is not None:
        return known
    request = worker.ledger.job(job_id).request
    drafted = draft(worker.resolved(request), worker.bundle(request.bundle))
    if worker.ledger.record_plan(job_id, drafted.plan, drafted.blocks):
        return drafted.plan
    return plan_job(worker, job_id)  # someone else was quicker; the first plan stands


def draft(request: MapRequest, bundle: Bundle) -> Draft:
    """Search the catalogue and cut the grid, without writing anything.

    Raises:
        SourceError: No scenes, or the source cannot be used or reached.
        CrsUnusable: The CRS asked for cannot carry the grid.
        OutputNotInBundle: A product was asked for that the bundle does not give.
    """
    manifest = bundle.manifest
    raster_specs(manifest, request.options.outputs)
    area = geometry_of(request.area)
    grid = grid_for(area, resolution_m=manifest.resolution_m, crs=request.options.crs)
    blocks = cut_blocks(grid, request.options.block_px, project_area(area, grid.crs))
    if not blocks:
        raise AoiEmpty(f"without a pixel centre of {grid.resolution_m:g} m inside")
    found = find_scenes(request, bands=bands_to_read(request, manifest))
    plan = Plan(bundle=bundle.reference, grid=grid, scenes=found.scenes, skipped=found.skipped, notices=found.notices)
    return Draft(plan=plan, blocks=blocks)


def bands_to_read(request: MapRequest, manifest: BundleManifest) -> dict[Modality, tuple[str, ...]]:
    """The bands of each modality that the model eats and the request allows.

    Raises:
        SourceUnusable: None is left.
    """
    bands = {entry.modality: entry.bands for entry in manifest.inputs if entry.modality in request.options.modalities}
    if not bands:
        wanted = ", ".join(entry.modality.value for entry in manifest.inputs)
        raise SourceUnusable(request.source, f"bundle {manifest.name} eats {wanted}, which the request leaves out")
    return bands
