"""What plugin authors test with: contract cases, and a fake server that can misbehave."""
