"""A cluster from outside: its file, its machines over ssh, what is wrong with them, and searches as Ray jobs on it.

>>> from search.remote.cluster_file import read_cluster                  # doctest: +SKIP
>>> from search.remote.checks import check_cluster                       # doctest: +SKIP
>>> [node.name for node in check_cluster(read_cluster("cluster.yaml"))]  # doctest: +SKIP

Everything goes through ssh: Ray's dashboard and MLflow listen on the head's loopback alone, and are reached by tunnels.
"""
