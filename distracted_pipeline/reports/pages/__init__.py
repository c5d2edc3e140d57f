"""One file per page: `page(site, ...)` says what its template gets; `write` lists the pages and renders them."""
