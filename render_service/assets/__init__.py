"""Input files and stored videos: probing, fitting, and the folder or bucket they are kept in."""
