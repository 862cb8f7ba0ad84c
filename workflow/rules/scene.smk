# The scene of a map, as the configuration names it.
from terralucas.study.scene_files import map_name, require_own_map, scene_paths, token_of_scene
from terralucas.study.new_chip_files import plan_name, with_home

MAP = with_home(config["map"])
MAP_FOLDER = f"{RESULTS}/maps/{map_name(MAP, Path(RESULTS, 'maps'))}"
MAP_PLAN = f"{MAP_FOLDER}/{plan_name(MAP, ('input', 'stride_m', *PREDICT_OPTIONS))}"
# Written by plan_map, and none of its outputs, because Snakemake deletes outputs before a job, which must still find the
# token.
SCENE_RECORD = f"{MAP_FOLDER}/scene_found.json"


def get_scene():
    """Return the configured paths of the scene.

    Raises:
        StudyStoppedError: there is none, or the folder of its name has the map of another scene.
    """
    if MAP["input"] is None:
        raise StudyStoppedError(
            "There is no scene to map: give it as --config 'map={input: path/to/scene.tif}'. A GeoTIFF, a VRT, and a "
            "list of band files are possible."
        )
    try:
        require_own_map(MAP, Path(MAP_FOLDER))
    except StudyError as error:
        raise StudyStoppedError(str(error)) from None
    return [str(path) for path in scene_paths(MAP)]
