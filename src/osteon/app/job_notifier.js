// Notifies a user who looks elsewhere that a job has ended: by the system's notifications where they are allowed, else
// by the tab's title and icon, until the tab is looked at again.
export default {
  template: `
    <span>
      <button v-if="canAsk" type="button" class="osteon-notifier" @click="allow">Tell me when a job ends</button>
      <span class="osteon-unseen" role="status">{{ message }}</span>
    </span>`,
  data: () => ({ canAsk: false, message: "", unseen: 0 }),
  mounted() {
    this.canAsk = "Notification" in window && isSecureContext && Notification.permission === "default";
    for (const event of ["visibilitychange", "focus"]) addEventListener(event, this.seen, true);
  },
  unmounted() {
    for (const event of ["visibilitychange", "focus"]) removeEventListener(event, this.seen, true);
  },
  methods: {
    async allow() {
      await Notification.requestPermission();
      this.canAsk = Notification.permission === "default";
    },
    notify(text) {
      this.message = text;
      if (!document.hidden && document.hasFocus()) return;
      this.unseen += 1;
      this.showCount();
      if ("Notification" in window && Notification.permission === "granted") {
        const notice = new Notification("osteon", { body: text, tag: "osteon" });
        notice.onclick = () => { focus(); notice.close(); };
      }
    },
    seen() {
      if (!this.unseen || document.hidden) return;
      this.unseen = 0;
      this.showCount();
    },
    showCount() {
      this.title ??= document.title;
      document.title = this.unseen ? `(${this.unseen}) ${this.title}` : this.title;
      const icon = document.querySelector('link[rel~="icon"]');
      if (!icon) return;
      this.icon ??= icon.href;
      icon.href = this.unseen ? badge() : this.icon;
    },
  },
};

function badge() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const pen = canvas.getContext("2d");
  pen.font = "52px serif";
  pen.fillText("🦴", 0, 52);
  pen.fillStyle = "#d1242f";
  pen.beginPath();
  pen.arc(46, 46, 18, 0, 7);
  pen.fill();
  return canvas.toDataURL();
}
