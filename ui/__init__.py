"""What people see and do: pages, HTTP API and command line."""
