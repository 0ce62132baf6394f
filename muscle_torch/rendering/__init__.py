"""Pictures, videos and the browser viewer. Import the submodule that is needed: each loads a graphics library."""
