"""What runs in the bounded child process: code streams decoded, pictures drawn. No Django here."""
