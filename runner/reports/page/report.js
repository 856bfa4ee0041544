// The report's gallery. Owns what happens after the page is open: loading data files, filters, cards, the job sheet.
// Every text from outside enters the page as text, every address is built from our own relative paths; nothing is ever parsed as HTML.
"use strict";
(() => {
  const PAGE = 60;
  const STILL_RATIO = 0.8;
  const byId = (id) => document.getElementById(id);
  const ICONS = {
    file: "M6 3h8l4 4v14H6zM14 3v4h4M9 12l6 6M15 12l-6 6",
    failed: "M12 3l10 17H2zM12 10v4M12 17v.01",
    wait: "M12 3a9 9 0 1 0 .01 0M12 7v5l3 2",
    sound: "M4 10v4h4l5 4V6L8 10zM16 9a4 4 0 0 1 0 6",
  };

  const report = { run: null, jobs: [], products: [], texts: [], details: new Map(), loaded: 0 };
  const view = { state: "", target: "", lane: "", text: "", failure: -1, list: [], shown: 0, product: -1, row: null, open: -1 };

  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined && text !== "") element.textContent = text;
    return element;
  };
  // Advice names commands between backticks.
  const told = (text) => {
    const element = directed(make("p"));
    text.split("`").forEach((part, place) => element.append(place % 2 ? make("code", "", part) : part));
    return element;
  };
  const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 2 });
  const seconds = (value) => value < 60 ? `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} s`
    : `${Math.floor(value / 60)}:${String(Math.floor(value % 60)).padStart(2, "0")} min`;

  // Loading. A page from disk cannot fetch; it can add scripts from its own folder, which call the functions below.
  const load = (name, then, failed) => {
    const script = document.createElement("script");
    script.src = "data/" + encodeURIComponent(name);
    script.onload = () => { script.remove(); then(); };
    script.onerror = () => { script.remove(); failed(); };
    document.head.append(script);
  };

  globalThis.callsheetReport = {
    run(_place, data) { report.run = data; start(); },
    jobs(_place, first, products, jobs) {
      products.forEach((product, place) => {
        report.products[first + place] = product;
        report.texts[first + place] = (product[0] + "\n" + product[1]).toLocaleLowerCase();
      });
      for (const job of jobs) report.jobs.push(job);
    },
    details(place, details) { report.details.set(place, details); },
  };

  const start = () => {
    if (!byId("filters")) return;
    byId("filters").hidden = false;
    readAddress();
    bind();
    loadNext();
  };

  const loadNext = () => {
    const names = report.run.jobFiles;
    if (report.loaded >= names.length) return;
    load(names[report.loaded], () => {
      report.loaded += 1;
      if (report.loaded === 1 || report.loaded === names.length) apply(); else count();
      if (report.loaded === names.length) openFromAddress();
      loadNext();
    }, stale);
  };

  const stale = () => say("Some of this report's data is gone. If the report was made again meanwhile, reload the page.");
  const say = (text) => { byId("nothing").textContent = text; byId("nothing").hidden = false; };

  // Filters
  const matches = (job) => (view.state === "" || job[2] === +view.state) && (view.target === "" || job[1] === +view.target)
    && (view.lane === "" || job[3] === +view.lane) && (view.failure < 0 || job[8] === view.failure)
    && (view.text === "" || report.texts[job[0]].includes(view.text));

  const select = () => {
    const places = [];
    report.jobs.forEach((job, place) => { if (matches(job)) places.push(place); });
    // Sorting is stable: products in the order of their first job, jobs in the manifest's order.
    return places.sort((a, b) => report.jobs[a][0] - report.jobs[b][0]);
  };

  const apply = () => {
    view.list = select();
    view.shown = 0;
    view.product = -1;
    byId("cards").replaceChildren();
    byId("nothing").hidden = true;
    if (!view.list.length && report.loaded === report.run.jobFiles.length) say("No job matches these filters.");
    renderMore();
    count();
    writeAddress();
  };

  const count = () => {
    const total = report.run.jobs;
    const filtered = view.state !== "" || view.target !== "" || view.lane !== "" || view.text !== "" || view.failure >= 0;
    const all = report.loaded === report.run.jobFiles.length;
    byId("found").textContent = !all ? `Loading ${number(report.jobs.length)} of ${number(total)}`
      : filtered ? `${number(view.list.length)} of ${number(total)} jobs` : `${number(total)} ${total === 1 ? "job" : "jobs"}`;
    byId("reset").hidden = !filtered;
    byId("filter-failure").hidden = view.failure < 0;
    byId("filter-failure").textContent = view.failure < 0 ? "" : `Cause ${view.failure + 1}  ✕`;
  };

  const FIELDS = ["state", "target", "lane", "text"];
  const field = (name) => byId("filter-" + name);
  const show = (changes) => {
    Object.assign(view, { state: "", target: "", lane: "", text: "", failure: -1 }, changes);
    for (const name of FIELDS) field(name).value = view[name];
    apply();
  };
  const jump = (changes) => { show(changes); byId("gallery").scrollIntoView(); byId("gallery").focus({ preventScroll: true }); };

  const readAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of FIELDS) {
      field(name).value = given.get(name) || "";
      view[name] = name === "text" ? field(name).value.trim().toLocaleLowerCase() : field(name).value;
    }
    view.failure = /^\d+$/.test(given.get("failure") || "") ? +given.get("failure") : -1;
  };
  const writeAddress = () => {
    const parts = new URLSearchParams();
    for (const name of FIELDS) if (view[name] !== "") parts.set(name, view[name]);
    if (view.failure >= 0) parts.set("failure", view.failure);
    if (view.open >= 0) parts.set("job", view.open + 1);
    // Some browsers allow no address changes for pages from disk; the page works without.
    try { history.replaceState(null, "", parts.size ? "#" + parts : location.pathname + location.search); } catch { return; }
  };
  const openFromAddress = () => {
    const place = +(openFromAddress.wanted || 0) - 1;
    if (report.jobs[place]) openJob(place);
  };
  openFromAddress.wanted = new URLSearchParams(location.hash.slice(1)).get("job");

  const bind = () => {
    let typing = 0;
    for (const name of ["state", "target", "lane"]) {
      field(name).addEventListener("change", () => { view[name] = field(name).value; apply(); });
    }
    field("text").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => { view.text = field("text").value.trim().toLocaleLowerCase(); apply(); }, 120);
    });
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filters").addEventListener("reset", (event) => { event.preventDefault(); show({}); });
    byId("filter-failure").addEventListener("click", () => { view.failure = -1; apply(); });
    for (const button of document.querySelectorAll("[data-filter-state]")) {
      button.addEventListener("click", () => jump({ state: button.dataset.filterState }));
    }
    for (const button of document.querySelectorAll("[data-filter-failure]")) {
      button.addEventListener("click", () => jump({ failure: +button.dataset.filterFailure }));
    }
    byId("more").addEventListener("click", renderMore);
    new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) renderMore(); },
      { rootMargin: "900px" }).observe(byId("more"));
    byId("cards").addEventListener("click", (event) => {
      const opener = event.target.closest(".open");
      if (opener) openJob(+opener.dataset.job);
    });
    bindSheet();
  };

  // Cards
  const renderMore = () => {
    const end = Math.min(view.shown + PAGE, view.list.length);
    const fresh = document.createDocumentFragment();
    for (; view.shown < end; view.shown += 1) {
      const place = view.list[view.shown];
      const job = report.jobs[place];
      if (job[0] !== view.product) {
        view.product = job[0];
        view.row = make("div", "row");
        fresh.append(section(job[0], view.row));
      }
      view.row.append(card(job, place));
    }
    byId("cards").append(fresh);
    byId("more").hidden = view.shown >= view.list.length;
    byId("more").textContent = `Show more (${number(view.list.length - view.shown)} left)`;
  };

  const section = (product, row) => {
    const [key, title] = report.products[product];
    const head = make("div", "product-head");
    const heading = make("h3", "", title || key || "No product");
    heading.dir = "auto";
    head.append(heading);
    if (title && title !== key) head.append(directed(make("span", "", key)));
    const whole = make("section", "product");
    whole.append(head, row);
    return whole;
  };

  const directed = (element) => { element.dir = "auto"; return element; };
  const tone = (job) => report.run.states[job[2]][0];
  const stateMark = (job) => {
    const mark = make("span", "state", report.run.states[job[2]][1]);
    mark.dataset.tone = tone(job);
    return mark;
  };
  const ratioOf = (media) => media && media[3] > 0 && media[4] > 0 ? Math.min(2.4, Math.max(0.42, media[3] / media[4])) : STILL_RATIO;

  const card = (job, place) => {
    const media = job[10];
    const whole = make("article", "card");
    const ratio = ratioOf(media[0]);
    whole.style.setProperty("--ratio", ratio);
    if (ratio > 1.2) whole.classList.add("wide");
    const picture = media.length ? frame(media[0], job) : emptyFrame(job);
    if (media.length > 1) picture.append(make("span", "badge", `1 of ${media.length}`));
    else if (media.length && media[0][0] > 0 && media[0][5]) picture.append(make("span", "badge", "▶ " + seconds(media[0][5])));
    whole.append(picture, caption(job, place));
    return whole;
  };

  const caption = (job, place) => {
    const button = make("button", "open");
    button.type = "button";
    button.dataset.job = place;
    button.append(directed(make("b", "", report.run.targets[job[1]] || "–")));
    if (job[4]) button.append(directed(make("span", "cell", job[4])));
    const line = make("span", "line");
    line.append(stateMark(job), make("span", "", price(job)));
    button.append(line);
    return button;
  };
  const price = (job) => job[5] !== null ? `${number(job[5])} cr` : job[6] !== null ? `≈ ${number(job[6])} cr` : "";

  // Pictures
  const address = (media) => `${report.run.artifacts}/${media[1]}`;
  const frame = (media, job) => {
    const box = make("div", "frame");
    box.style.setProperty("--ratio", ratioOf(media));
    const [kind, url, , , , , problem] = media;
    if (problem || !url) return blank(box, ICONS.file, problem || "This path cannot be shown.");
    const failed = () => { box.replaceChildren(); blank(box, ICONS.file, "The file cannot be shown here."); };
    box.append(kind === 0 ? still(media, job, failed) : kind === 1 ? clip(media, job, failed) : sound(box, media));
    return box;
  };
  const named = (media, job) => `${report.products[job[0]][1] || report.products[job[0]][0]}, ${report.run.targets[job[1]] || ""} ${media[7]}`;
  const still = (media, job, failed) => {
    const image = make("img");
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = named(media, job);
    image.addEventListener("error", failed);
    image.src = media[2] ? "posters/" + media[2] : address(media);
    return image;
  };
  const clip = (media, job, failed) => {
    const video = make("video");
    video.preload = "none";
    video.controls = true;
    video.muted = true;
    video.setAttribute("muted", "");
    video.playsInline = true;
    video.className = "idle";
    video.addEventListener("play", () => { video.className = ""; });
    video.setAttribute("aria-label", named(media, job));
    if (media[2]) video.poster = "posters/" + media[2];
    video.addEventListener("error", failed);
    video.src = address(media);
    return video;
  };
  const sound = (box, media) => {
    blank(box, ICONS.sound, media[7]);
    const player = make("audio");
    player.preload = "none";
    player.controls = true;
    player.src = address(media);
    return player;
  };
  const blank = (box, path, text) => {
    const cover = make("div", "blank");
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    drawing.setAttribute("viewBox", "0 0 24 24");
    drawing.setAttribute("aria-hidden", "true");
    line.setAttribute("d", path);
    drawing.append(line);
    cover.append(drawing, directed(make("span", "", text)));
    box.append(cover);
    return box;
  };
  const emptyFrame = (job) => {
    const box = make("div", "frame");
    box.dataset.tone = tone(job);
    return blank(box, tone(job) === "failed" || tone(job) === "uncertain" ? ICONS.failed : ICONS.wait, job[9]);
  };

  // The job sheet
  const openJob = (place) => {
    view.open = place;
    const job = report.jobs[place];
    byId("job-state").replaceChildren(stateMark(job));
    byId("job-title").textContent = report.products[job[0]][1] || report.products[job[0]][0];
    byId("job-key").textContent = "";
    const stage = make("div", "stage");
    for (const media of job[10]) stage.append(media[0] === 0 ? whole(media, job) : frame(media, job), ...opener(media));
    byId("job-body").replaceChildren(stage);
    byId("job-body").scrollTop = 0;
    const at = view.list.indexOf(place);
    byId("job-previous").disabled = at <= 0;
    byId("job-next").disabled = at < 0 || at >= view.list.length - 1;
    if (!byId("job").open) byId("job").showModal();
    writeAddress();
    withDetail(place, (detail) => { if (view.open === place) fill(detail); });
  };
  const whole = (media, job) => frame([...media.slice(0, 2), "", ...media.slice(3)], job);

  // A link only to what browsers show or play: another kind of file could act as a page.
  const opener = (media) => {
    if (media[6] || !/\.(jpe?g|png|webp|gif|avif|mp4|m4v|mov|webm|mp3|m4a|wav|ogg)$/i.test(media[1])) return [];
    const link = make("a", "", `Open ${media[7] || "file"}`);
    link.href = address(media);
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    const line = make("p", "meta");
    line.append(link);
    return [line];
  };

  const withDetail = (place, then) => {
    const file = Math.floor(place / report.run.detailsPerFile);
    const ready = () => then(report.details.get(file)[place % report.run.detailsPerFile]);
    if (report.details.has(file)) ready();
    else load(report.run.detailFiles[file], ready, () => byId("job-body").append(make("p", "empty", "This job's details are gone. Reload the page.")));
  };

  const fill = ([key, title, message, advice, sections]) => {
    byId("job-key").textContent = key;
    if (title) byId("job-title").textContent = title;
    const facts = make("div", "facts");
    if (message || advice) {
      const trouble = make("div", "trouble");
      trouble.append(directed(make("p", "", message || "It failed without a message.")), told(advice));
      facts.append(trouble);
    }
    for (const [heading, fields] of sections) {
      const list = make("dl");
      for (const [label, text] of fields) list.append(directed(make("dt", "", label)), directed(make("dd", "", text)));
      facts.append(make("h3", "", heading), list);
    }
    byId("job-body").append(facts);
  };

  const step = (by) => {
    const next = view.list[view.list.indexOf(view.open) + by];
    if (view.open >= 0 && next !== undefined) openJob(next);
  };
  const bindSheet = () => {
    const sheet = byId("job");
    byId("job-close").addEventListener("click", () => sheet.close());
    byId("job-previous").addEventListener("click", () => step(-1));
    byId("job-next").addEventListener("click", () => step(1));
    sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
    sheet.addEventListener("close", () => { view.open = -1; byId("job-body").replaceChildren(); writeAddress(); });
    sheet.addEventListener("keydown", (event) => {
      if (event.target.closest("video, audio") || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
  };
})();
