"""Python runs this by itself where it finds it on PYTHONPATH: Snakemake's job has a function of another version."""

import importlib.abc
import importlib.machinery
import sys


class _Changing(importlib.abc.MetaPathFinder):
    """Changes snakemake.jobs when it is imported, so that processes without it need not import it."""

    def find_spec(self, name, path, target=None):
        if name != "snakemake.jobs":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            original = module.Job.postprocess

            async def postprocess(self, *arguments, a_new_one=True, **options):
                await original(self, *arguments, **options)

            module.Job.postprocess = postprocess

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Changing())
