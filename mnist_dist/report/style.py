"""The style sheet of the report's page: dark text on white; needs no other file."""

CSS = """
:root { --ink: #1b1f24; --soft: #59616b; --line: #dfe3e7; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 40px 24px 64px; }
.eyebrow { margin: 0 0 8px; color: var(--soft); font-size: 14px; }
h1 { margin: 0 0 14px; font-size: 30px; line-height: 1.25; font-weight: 650;
  letter-spacing: -0.01em; text-wrap: balance; }
h2 { margin: 48px 0 12px; font-size: 19px; line-height: 1.3; font-weight: 650; }
h3 { margin: 28px 0 8px; font-size: 15px; font-weight: 650; }
p, li { max-width: 78ch; }
h1, h2, p, li { overflow-wrap: anywhere; }  /* long names of runs */
ul { margin: 0; padding-left: 1.2em; }
li { margin: 3px 0; }
.verdict { margin: 0; font-size: 18px; line-height: 1.5; }
.badge { display: inline-block; margin-right: 6px; padding: 1px 10px; border-radius: 999px;
  font-size: 15px; font-weight: 650; background: #eceff2; color: #2f353c; }
.badge.real { background: #d9f2e3; color: #0b5a33; }
.badge.open { background: #fdeecb; color: #6b4700; }
.badge.against { background: #fbdfda; color: #8a1c0c; }
.soft { color: var(--soft); font-size: 14px; }
.data { max-width: none; margin: 64px 0 12px; padding-top: 20px;
  border-top: 3px solid var(--line); }
/* A shadow at the edge behind which a table goes on: the white covers go along with it. */
.scroll { overflow-x: auto; margin-bottom: 16px; background:
  linear-gradient(to right, #fff 40%, transparent) left / 48px 100% no-repeat local,
  linear-gradient(to left, #fff 40%, transparent) right / 48px 100% no-repeat local,
  linear-gradient(to right, rgba(27,31,36,.22), transparent) left / 14px 100% no-repeat scroll,
  linear-gradient(to left, rgba(27,31,36,.22), transparent) right / 14px 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 5px; text-align: left; vertical-align: middle; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; color: var(--soft); font-weight: 500; font-size: 12px;
  line-height: 1.3; border-bottom: 1px solid #aab1b9; }
.wrap th { white-space: normal; }
th.n, td.n { text-align: right; }
th:first-child, td:first-child { padding-left: 2px; }
.wrap th:first-child, .wrap td:first-child { position: sticky; left: 0; background: #fff; }
tr.best td { font-weight: 650; }
.swatch { display: inline-block; width: 11px; height: 11px; margin-right: 7px; border-radius: 3px;
  vertical-align: -1px; }
.strip { display: block; width: 110px; height: 22px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0 0 16px; padding: 0;
  list-style: none; font-size: 14px; }
.curves { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 20px 28px; }
figure { margin: 0; }
.curves img { display: block; width: 100%; height: auto; }
.confusion td, .confusion th { padding: 0; width: 44px; height: 34px; text-align: center;
  border: 1px solid #fff; }
.confusion thead th { vertical-align: middle; border: 0; }
.confusion td.right { background: #eef0f3; color: var(--soft); }
.confusion td.zero { background: #fafbfc; }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(84px, 1fr)); gap: 16px; }
.mistakes img { display: block; width: 100%; max-width: 112px; image-rendering: pixelated;
  border: 1px solid var(--line); border-radius: 3px; }
.mistakes figcaption { margin-top: 4px; font-size: 14px; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
.mistakes small { display: block; color: var(--soft); font-size: 12px; }
summary { cursor: pointer; font-size: 19px; font-weight: 650; }
details { margin-top: 48px; }
details .scroll { margin-top: 12px; }
footer { margin-top: 56px; padding-top: 16px; border-top: 1px solid var(--line); }
@media (max-width: 720px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 23px; }
  .verdict { font-size: 16px; }
  .curves { grid-template-columns: minmax(0, 1fr); }
  .confusion td, .confusion th { width: 30px; height: 28px; font-size: 12px; }
  .mistakes { grid-template-columns: repeat(auto-fill, minmax(68px, 1fr)); gap: 12px; }
}
"""
