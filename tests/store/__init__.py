"""A real S3 server for the tests, and a way to make it fail.

The server is SeaweedFS, which checks keys and signatures, keeps its files on the disk, and can be killed and started
again. Between it and a client can stand a small proxy that answers 503 when told to.
"""
