"""What OCI and Docker define: names, digests, manifests, and how their bytes are proven. Pure."""
