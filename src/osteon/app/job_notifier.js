// Tells somebody who looks elsewhere that a job has ended: by the system's notices where they are allowed, else by the
// tab's title and icon. What the tab shows goes when it is looked at again.
export default {
  template: `
    <span>
      <button v-if="can" type="button" class="osteon-bell" @click="allow">Tell me when a job ends</button>
      <span class="osteon-unseen" role="status">{{ said }}</span>
    </span>`,
  data: () => ({ can: false, said: "", waiting: 0 }),
  mounted() {
    this.can = "Notification" in window && isSecureContext && Notification.permission === "default";
    for (const event of ["visibilitychange", "focus"]) addEventListener(event, this.seen, true);
  },
  unmounted() {
    for (const event of ["visibilitychange", "focus"]) removeEventListener(event, this.seen, true);
  },
  methods: {
    async allow() {
      await Notification.requestPermission();
      this.can = Notification.permission === "default";
    },
    ring(text) {
      this.said = text;
      if (!document.hidden && document.hasFocus()) return;
      this.waiting += 1;
      this.mark();
      if ("Notification" in window && Notification.permission === "granted") {
        const notice = new Notification("osteon", { body: text, tag: "osteon" });
        notice.onclick = () => { focus(); notice.close(); };
      }
    },
    seen() {
      if (!this.waiting || document.hidden) return;
      this.waiting = 0;
      this.mark();
    },
    mark() {
      this.title ??= document.title;
      document.title = this.waiting ? `(${this.waiting}) ${this.title}` : this.title;
      const icon = document.querySelector('link[rel~="icon"]');
      if (!icon) return;
      this.icon ??= icon.href;
      icon.href = this.waiting ? badge() : this.icon;
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
