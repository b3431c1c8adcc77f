"""What runs in the bounded child process: code streams decoded and made, pictures drawn. No Django here."""
