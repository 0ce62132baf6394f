"""Images, videos and the browser viewer. Import the submodule you need: each loads a graphics library."""
