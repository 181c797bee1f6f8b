"""What the project's claims about memory and speed are measured with. Nothing here decides whether a build passes."""
