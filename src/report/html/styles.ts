import { scaleStyles } from './scale.ts';

/** The one style sheet of every page: light and dark by the reader's preference, narrow screens, paper. */
export const styles = `
:root{color-scheme:light dark;--page:#fbfaf8;--card:#ffffff;--ink:#1d2129;--soft:#5b6270;--line:#e3e1dc;
--before:#3b6fb6;--before-fill:#c9daf2;--after:#b3470f;--accent:#20558f;--good:#1d6b45;--warn-bg:#fdf3dc;--warn-ink:#5f4300;--track:#ebe9e4}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--card:#1c1f25;--ink:#e9e8e4;--soft:#a4abb8;--line:#31353e;
--before:#86b3f0;--before-fill:#27405f;--after:#f2a065;--accent:#8fbcf5;--good:#78cfa2;--warn-bg:#3a2f16;--warn-ink:#f4dca4;--track:#2b2f37}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1060px;margin:0 auto;padding:48px 24px 72px}
h1{font-size:clamp(1.6rem,4.5vw,2.4rem);line-height:1.15;letter-spacing:-.02em;margin:.15em 0 .4em;overflow-wrap:anywhere}
h2{font-size:1.3rem;letter-spacing:-.01em;margin:0 0 .3em}
h3{font-size:1rem;margin:1.4em 0 .5em}
p{margin:.3em 0 1em;max-width:70ch}
section{margin-top:56px}
a{color:var(--accent)}
p b{white-space:nowrap}
.kicker{font-size:.8rem;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin:0}
.lead{font-size:1.12rem;max-width:62ch}
.soft,figcaption,caption{color:var(--soft)}
.soft{font-size:.92rem}
code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.86em}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;white-space:pre-wrap;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:14px;margin-top:28px}
.cards:has(>:nth-child(5)){grid-template-columns:repeat(auto-fit,minmax(280px,1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px}
.card dt{font-size:.85rem;color:var(--soft)}
.card dd{margin:0}
.card .big{font-size:1.9rem;font-weight:650;letter-spacing:-.02em;line-height:1.25;font-variant-numeric:tabular-nums}
.card .big small{font-size:.55em;font-weight:500;color:var(--soft);letter-spacing:0}
.card .note{font-size:.88rem;color:var(--soft)}
.scroll{overflow-x:auto;margin:0 -4px;padding:4px}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.88rem;padding-bottom:.5em}
th{font-weight:600;text-align:left}
thead th{color:var(--soft);font-weight:500;vertical-align:bottom;white-space:nowrap}
.list{width:100%}
.list th,.list td{padding:7px 14px 7px 0;border-bottom:1px solid var(--line)}
.list td .mono{overflow-wrap:anywhere}
.list tbody th{font-weight:500;overflow-wrap:anywhere;min-width:11em}
.num{text-align:right;white-space:nowrap}
th.num{text-align:right}
.bar{display:block;height:10px;border-radius:5px;background:var(--track);min-width:110px}
.bar i{display:block;height:100%;border-radius:5px;background:var(--before);min-width:2px}
.this .bar i{background:var(--after)}
.this th,.this td{font-weight:650}
.maps{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:28px}
.map{border-collapse:separate;border-spacing:2px;font-size:.76rem}
.map td{padding:0;text-align:center;border-radius:3px;min-width:42px}
.map td a,.map td span{display:block;padding:4px 3px;color:inherit;text-decoration:none}
.map td a:hover,.map td a:focus-visible{text-decoration:underline}
.map thead th{white-space:normal;line-height:1.25;font-size:.72rem;padding:0 3px 4px;text-align:center}
.map tbody th{font-weight:500;color:var(--soft);padding-right:8px;text-align:right;white-space:nowrap}
.legend{display:flex;flex-wrap:wrap;gap:2px;margin:10px 0 0;padding:0;list-style:none;font-size:.76rem;font-variant-numeric:tabular-nums}
.legend li{padding:3px 8px;border-radius:3px}
.keys{display:flex;flex-wrap:wrap;gap:6px 22px;padding:0;margin:0 0 10px;list-style:none;font-size:.88rem}
.keys svg{width:22px;height:12px;margin-right:7px;vertical-align:-1px}
details{border-bottom:1px solid var(--line)}
summary{cursor:pointer;padding:9px 0;display:flex;flex-wrap:wrap;gap:2px 16px;font-size:.92rem;font-variant-numeric:tabular-nums}
summary::before{content:"\\25B8";color:var(--soft)}
details[open]>summary::before{content:"\\25BE"}
summary .name{flex:1 1 16em;overflow-wrap:anywhere}
figure{margin:6px 0 22px;scroll-margin-top:60px}
figcaption{font-size:.88rem;max-width:75ch}
.hist{display:block;width:100%;height:190px;overflow:visible}
.hist path,.keys path{vector-effect:non-scaling-stroke;fill:none}
path.b{fill:var(--before-fill);stroke:var(--before);stroke-width:1}
path.a{stroke:var(--after);stroke-width:1.4}
path.t{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:5 4}
path.g{stroke:var(--soft);stroke-width:1}
path.x{stroke:var(--line);stroke-width:1}
.axis{position:relative;display:flex;justify-content:space-between;font-size:.78rem;color:var(--soft);font-variant-numeric:tabular-nums;margin:2px 0 8px}
.axis i{position:absolute;white-space:nowrap;font-style:normal;transform:translateX(-50%)}
.warn{background:var(--warn-bg);color:var(--warn-ink);border-radius:8px;padding:10px 16px;margin:8px 0;max-width:none;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:6px 20px;font-size:.92rem;margin:0}
.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}
.plot{position:relative;height:340px;margin:10px 0 6px;border-left:1px solid var(--soft);border-bottom:1px solid var(--soft)}
.plot svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
.plot .front{fill:none;stroke:var(--good);stroke-width:2;vector-effect:non-scaling-stroke}
.line{fill:none;stroke-width:2;stroke-linecap:round;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.hue0{stroke:var(--ink);stroke-width:4.5}.hue1{stroke:var(--after)}.hue2{stroke:var(--before)}.hue3{stroke:var(--good)}
.dash1{stroke-dasharray:7 5}.dash2{stroke-dasharray:1 5}.dash3{stroke-dasharray:9 4 1 4}
.grid{position:absolute;left:0;right:0;height:0;border-top:1px solid var(--line);font-size:.75rem;color:var(--soft)}
.grid span{position:absolute;right:0;bottom:1px}
.middle{margin:0 auto}
.dot{position:absolute;width:26px;height:26px;margin:0 0 -13px -13px;border-radius:50%;background:var(--card);border:2px solid var(--soft);color:var(--ink);font-size:.78rem;line-height:22px;text-align:center;text-decoration:none;font-variant-numeric:tabular-nums}
.dot.best{z-index:1;background:var(--good);border-color:var(--good);color:var(--card);font-weight:650}
.yes{color:var(--good);font-weight:650}
footer{margin-top:64px;border-top:1px solid var(--line);padding-top:14px;color:var(--soft);font-size:.85rem}
${scaleStyles()}
@media (max-width:600px){main{padding:28px 16px 48px}section{margin-top:42px}.facts{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:10px}
.cards,.cards:has(>:nth-child(5)){grid-template-columns:1fr 1fr;gap:10px}.card{padding:14px}.card .big{font-size:1.45rem}.hist{height:150px}.list th,.list td{padding-right:10px}.list tbody th{min-width:7em}}
@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--before:#3b6fb6;--before-fill:#c9daf2;--after:#b3470f;--accent:#000;--good:#1d6b45;--warn-bg:#f3f3f3;--warn-ink:#000;--track:#eee}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}body{font-size:11pt}main{max-width:none;padding:0}section{margin-top:28px}
details:not([open]){display:none}.scroll{overflow:visible}figure,tr,.card{break-inside:avoid}h2,h3{break-after:avoid}a{color:inherit;text-decoration:none}}
`;
