"""What every server of the Videos API needs: request bodies, checks of fields, and the error envelope."""
