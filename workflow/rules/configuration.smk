# Which configuration files are read.
from execution.start.configuration_copies import remember_content
from execution.end.stopped import StudyStoppedError
from terralucas.errors import StudyError
from terralucas.study.config_files import check_config_file
from terralucas.study.settings import default_configfile

has_default = not workflow.overwrite_configfiles
if has_default:
    # A target results/<study>/… names its study; Snakemake itself tells the targets only after it has read this file.
    # Jobs on other machines are told the choice by --configfiles, which Snakemake takes from this list.
    workflow.config_settings.configfiles.append(default_configfile(sys.argv[1:], Path(workflow.basedir) / "config"))
if workflow.is_main_process:
    # Before Snakemake reads them where it is the default; the others were checked where profiles/default was read.
    try:
        for file in workflow.config_settings.configfiles:
            check_config_file(file)
        remember_content(workflow.config_settings.configfiles)
    except StudyError as error:
        raise StudyStoppedError(str(error)) from None
if has_default:

    configfile: workflow.config_settings.configfiles[0]
