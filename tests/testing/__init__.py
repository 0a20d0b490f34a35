"""Tests of `crux_integrations.testing`."""
