"""Record files that a study has read, as its jobs do, with their states of now."""

from terralucas.contents import states_of
from terralucas.study.new_chip_files import files_of_new_chips, write_new_chips_record
from terralucas.study.scene_files import files_of_scene, write_scene_record


def record_new_chips(source, record, token):
    files = files_of_new_chips(source)
    write_new_chips_record(source, record, token, files, states_of(files))


def record_scene(paths, record, token):
    files = files_of_scene(paths)
    write_scene_record(paths, record, token, files, states_of(files))
