"""A package, so that no other one named tests is found instead (torch-fidelity installs its own)."""
