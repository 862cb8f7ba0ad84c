"""Record files that a study has read, as its jobs do, with their states of now."""

from terralucas.study.new_chip_files import look_at_new_chips, write_new_chips_record
from terralucas.study.scene_files import look_at_scene, write_scene_record


def record_new_chips(source, record, token):
    write_new_chips_record(source, record, token, look_at_new_chips(source))


def record_scene(paths, record, token):
    write_scene_record(paths, record, token, look_at_scene(paths))
