// Tells the server that the user has left this page, so that it need not be kept for a browser that might come back.
export default {
  template: "<span hidden></span>",
  mounted() { addEventListener("pagehide", left); },
  unmounted() { removeEventListener("pagehide", left); },
};

function left(event) {
  if (!event.persisted) navigator.sendBeacon(`/api/left/${window.clientId}`);
}
