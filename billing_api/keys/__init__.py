"""API keys: made or imported, rotated, revoked. Only a digest under the installation's pepper is stored."""
