"""A small ACME server (RFC 8555): issues certificates to who proves to answer for a name.

It validates for real, by http-01 (RFC 8555, 8.3) and tls-alpn-01 (RFC 8737), and takes every name to be at one
address, as the installation's DNS does with the names of its ingress.
"""
