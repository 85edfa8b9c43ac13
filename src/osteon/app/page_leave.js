// Says that this page is left for good, so that the server need not keep it for a browser that might come back.
export default {
  template: "<span hidden></span>",
  mounted() { addEventListener("pagehide", gone); },
  unmounted() { removeEventListener("pagehide", gone); },
};

function gone(event) {
  if (!event.persisted) navigator.sendBeacon(`/api/left/${window.clientId}`);
}
