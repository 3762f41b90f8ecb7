// A browser may not read a file from another: where the site is opened from disk, results come without their excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// A picture opens in its full size, where a phone can look closely.
document.addEventListener("click", (event) => {
  if (event.target.matches("article img") && !event.target.closest("a")) location.href = event.target.src;
});
