# Which configuration file is read.
from snakemake.exceptions import WorkflowError

from terralucas.errors import StudyError
from terralucas.study.config_files import check_config_file
from terralucas.study.settings import default_configfile

if not workflow.overwrite_configfiles:
    # A target results/<study>/… names its study; Snakemake itself tells the targets only after it has read this file.
    # Jobs on other machines are told the choice by --configfiles, which Snakemake takes from this list.
    workflow.config_settings.configfiles.append(default_configfile(sys.argv[1:], Path(workflow.basedir) / "config"))
    try:
        check_config_file(workflow.config_settings.configfiles[0])
    except StudyError as error:
        raise WorkflowError(str(error)) from None

    configfile: workflow.config_settings.configfiles[0]
