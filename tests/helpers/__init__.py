"""What tests, drill and benchmarks share: servers, simulated studies, copies of the project, a Slurm cluster."""
