// What the panel beside a drawing looks like: a template of Vue's.
export default `
<div class="osteon-draw-column">
  <div class="osteon-draw-top">
    <div v-for="line in notices" :key="line.text" class="osteon-draw-notice" role="status">
      <span>{{ line.text }}</span>
      <button v-for="[name, then] in line.then" :key="name" class="osteon-plain" @click="then()">{{ name }}</button>
    </div>
    <div class="osteon-draw-row">
      <button class="osteon-plain osteon-main" :disabled="!loaded || !!peeked" @click="save()">{{ second ? "Save the second reading" : "Save" }}</button>
      <button class="osteon-plain" :disabled="!undoable || !!peeked" @click="view.undo()" title="Undo (Ctrl+Z)"><i v-bind="icon('undo')"></i>Undo</button>
      <button class="osteon-plain" :disabled="!redoable || !!peeked" @click="view.redo()" title="Redo (Ctrl+Y)" aria-label="Redo"><i v-bind="icon('redo')"></i></button>
      <button class="osteon-plain" :disabled="!loaded" @click="openVersions()"><i v-bind="icon('history')"></i>Versions</button>
      <button class="osteon-plain" @click="$refs.keys.showModal()" title="Keys (?)" aria-label="Keys"><i v-bind="icon('keyboard')"></i></button>
    </div>
    <p class="osteon-draw-status" role="status">{{ said || status }}</p>
  </div>

  <div class="osteon-draw-tools" role="toolbar" aria-label="Drawing tools">
    <button v-for="one in tools" :key="one.name" class="osteon-tool" :aria-pressed="one.once ? null : String(tool === one.name)" :disabled="!!peeked"
      :title="one.label + ' (' + one.key + '): ' + one.hint" @click="useTool(one)">
      <i v-bind="icon(one.icon)"></i><span>{{ one.label }}</span></button>
  </div>
  <fieldset v-if="shownTool" class="osteon-draw-options">
    <legend>{{ shownTool.label }}</legend>
    <p class="osteon-faint">{{ shownTool.hint }}</p>
    <label v-for="option in visibleOptions" :key="option.name">
      <span>{{ option.label }}</span>
      <select v-if="option.choices" :value="options[shownTool.name][option.name]" @change="setOption(shownTool, option, $event.target.value)">
        <option v-for="[value, text] in option.choices" :key="value" :value="value">{{ text }}</option></select>
      <template v-else>
        <input v-if="option.most" type="range" class="osteon-slider" :min="option.least" :max="option.most" :step="option.step" tabindex="-1" aria-hidden="true"
          :value="options[shownTool.name][option.name]" @input="setOption(shownTool, option, +$event.target.value)">
        <input type="number" :min="option.least" :max="option.most" :step="option.step ?? 'any'" :value="options[shownTool.name][option.name]"
          @change="setOption(shownTool, option, +$event.target.value)" @keydown.enter="$event.target.blur()"><span class="osteon-unit">{{ option.unit }}</span></template>
    </label>
    <button v-if="shownTool.once" class="osteon-plain" :disabled="!!peeked" @click="runTool(shownTool)">{{ shownTool.label }} now</button>
  </fieldset>

  <fieldset class="osteon-draw-options">
    <legend>Structures</legend>
    <div class="osteon-draw-list">
      <div v-for="(row, n) in rows" :key="row.key" class="osteon-draw-structure" :class="{ chosen: n === chosen }">
        <input type="color" class="osteon-swatch" :value="row.colour" :aria-label="'Colour of ' + row.name" :disabled="row.piece" @change="recolour(row, $event.target.value)">
        <button class="osteon-draw-name" :aria-pressed="String(n === chosen)" @click="choose(n)" :title="n < 9 ? 'Key ' + (n + 1) : ''">{{ row.name }}</button>
        <button class="osteon-mini" v-if="!row.piece" :aria-label="'Rename ' + row.name" title="Rename" @click="rename(row)"><i v-bind="icon('edit')"></i></button>
        <button class="osteon-mini" :aria-label="'Show ' + row.name" :aria-pressed="String(row.visible)" title="Show or hide" @click="row.visible = !row.visible; showRows()">
          <i v-bind="icon(row.visible ? 'visibility' : 'visibility_off')"></i></button>
        <button class="osteon-mini" :aria-label="'Protect ' + row.name" :aria-pressed="String(row.locked)" title="Protect from being drawn over" @click="row.locked = !row.locked; showRows()">
          <i v-bind="icon(row.locked ? 'lock' : 'lock_open')"></i></button>
      </div>
    </div>
    <div class="osteon-draw-row">
      <button class="osteon-plain" :disabled="!loaded" @click="addStructure()"><i v-bind="icon('add')"></i>Add</button>
      <button v-if="canAddPiece" class="osteon-plain" @click="addPiece()">New piece</button>
      <button class="osteon-plain" :aria-pressed="String(othersLocked)" :disabled="chosen < 0" @click="lockOthers()" title="Key k">Protect the others</button>
    </div>
    <label><span>Opacity</span><input type="range" class="osteon-slider" min="5" max="100" :value="opacity" aria-label="Opacity of the drawing" @input="opacity = +$event.target.value; showRows()"></label>
    <label v-if="kind === 'volume'"><span>Outlines only</span><input type="checkbox" v-model="outlines" @change="view.setOutlines(outlines)"></label>
  </fieldset>

  <fieldset class="osteon-draw-options">
    <legend>View</legend>
    <label><span>Window</span><select v-model.number="preset" @change="setWindow()"><option v-for="([name], n) in presets" :key="name" :value="n">{{ name }}</option></select></label>
    <label v-for="end in [0, 1]" :key="end"><span>{{ ["Black up to", "White from"][end] }}</span>
      <input type="number" step="any" v-model.number="range[end]" @change="view.window(range[0], Math.max(range[1], range[0] + 1e-6))"><span class="osteon-unit">{{ unit }}</span></label>
    <label v-if="kind === 'volume'"><span>Layout</span><select v-model="layout" @change="view.layout(layout)"><option v-for="(text, name) in layouts" :key="name" :value="name">{{ text }}</option></select></label>
    <label><span>Your name</span><input type="text" ref="author" maxlength="80" :value="author" autocomplete="name" @change="setAuthor($event.target.value)" @keydown.enter="$event.target.blur()"></label>
  </fieldset>

  <dialog ref="versions" class="osteon-dialog" aria-labelledby="osteon-versions">
    <h2 id="osteon-versions">Versions</h2>
    <p v-if="!state.versions?.length && !state.imported" class="osteon-faint">No label has been saved yet.</p>
    <div v-for="one in versions" :key="one.number" class="osteon-draw-version">
      <div><b>{{ one.title }}</b><span v-if="one.number === state.current" class="osteon-chip osteon-good">counts now</span><br><span class="osteon-faint">{{ one.text }}</span></div>
      <button class="osteon-plain" @click="look(one)">Look</button>
      <button class="osteon-plain" v-if="one.number !== state.current && one.kind !== 'second reading'" @click="restore(one)">Restore</button>
    </div>
    <template v-if="state.results?.length"><h2>Predictions</h2>
      <div v-for="one in state.results" :key="one.id" class="osteon-draw-version"><div><b>{{ one.title }}</b></div>
        <button class="osteon-plain" @click="$refs.versions.close(); begin({ version: 'result', result: one.id }, 'from the prediction ' + one.title)">Begin with it</button></div></template>
    <p v-for="one in otherDrafts" :key="one.author" class="osteon-faint">{{ one.author }} has an unsaved draft of {{ moment(one.at) }}.</p>
    <div class="osteon-draw-row"><button class="osteon-plain" :disabled="!dirty && !drafted" @click="$refs.versions.close(); save('second reading')">Save as a second reading</button>
      <button class="osteon-plain" @click="$refs.versions.close()">Close</button></div>
  </dialog>

  <dialog ref="ask" class="osteon-dialog" aria-labelledby="osteon-ask" @cancel="answer(null)">
    <h2 id="osteon-ask">{{ question.title }}</h2>
    <p v-for="line in question.lines" :key="line">{{ line }}</p>
    <label v-if="question.text !== undefined" class="osteon-draw-ask"><span>Name</span><input type="text" v-model="question.text" maxlength="120" @keydown.enter.prevent="answer(question.buttons[0][1])"></label>
    <label v-for="box in question.boxes ?? []" :key="box.name" class="osteon-draw-ask"><input type="checkbox" v-model="box.on"><span>{{ box.name }}</span></label>
    <div class="osteon-draw-row"><button v-for="([name, value], n) in question.buttons" :key="name" class="osteon-plain" :class="{ 'osteon-main': n === 0 }" @click="answer(value)">{{ name }}</button></div>
  </dialog>

  <dialog ref="keys" class="osteon-dialog" aria-labelledby="osteon-keys">
    <h2 id="osteon-keys">Keys</h2>
    <table><tbody><tr v-for="[key, what] in keyList" :key="key"><td><kbd>{{ key }}</kbd></td><td>{{ what }}</td></tr></tbody></table>
    <div class="osteon-draw-row"><button class="osteon-plain osteon-main" @click="$refs.keys.close()">Close</button></div>
  </dialog>
</div>
`;
