"""What was used, read from the views of ClickHouse. Nothing here is stored."""
