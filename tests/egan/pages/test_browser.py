"""The browser that the tests of pages look through sees what is wrong."""

from egan.pages import Section, write_page

PAGE = "<!doctype html><html><head>%s</head><body>%s</body></html>"


def test_what_a_script_answers_comes_back(browse, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE % ("", "<p>1 &lt; 2</p>"))
    seen = browse(path, 'return {text: document.querySelector("p").textContent}')
    assert seen == ({"text": "1 < 2"}, [])


def test_errors_are_seen(browse, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE % ("", "<script>missing.name</script>"))
    seen = browse(path, "return 1")
    assert seen.answer == 1
    assert "missing is not defined" in "".join(seen.console)


def test_a_page_of_ours_cannot_load_anything(browse, tmp_path):
    write_page(tmp_path / "page.html", "", {}, [Section("", [], [])])
    seen = browse(
        tmp_path / "page.html",
        """
        const image = new Image();
        image.src = "https://example.org/image.png";
        await fetch("https://example.org").catch(() => 0);
        return 1;
        """,
    )
    said = "".join(seen.console)
    assert "img-src" in said
    assert "connect-src" in said
