"""A real Slurm on one machine, for trying things out and for the cluster tests.

slurmctld, several slurmd, slurmdbd with MariaDB, and munge, as processes of whoever starts them:
all state is under one directory, no port is fixed, and several can run at once.
"""
