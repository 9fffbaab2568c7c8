"""Parts of an installation: fetch a file, convert it, and prove or try the result. No running worker imports them."""
