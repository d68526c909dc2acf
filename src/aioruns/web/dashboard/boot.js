// Applies the stored theme before the first paint, and takes the token out of the address bar; runs before all else.
(() => {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("aioruns-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // Storage may be forbidden; then the system's theme is used.
  }
  const address = new URL(location.href);
  if (!address.searchParams.has("token")) return;
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
  if (root.dataset.page !== "login") return;
  // Whoever is asked for the token although one was given has given a wrong one.
  document.addEventListener("DOMContentLoaded", () => {
    const alert = document.getElementById("wrong");
    if (alert !== null) alert.hidden = false;
  });
})();
