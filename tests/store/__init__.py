"""A real S3 server for the tests, and a way to make it fail.

The server is SeaweedFS, which checks keys and signatures, keeps its files on the disk, and can be killed and restarted.
A small proxy in front of it can answer requests with 503.
"""
